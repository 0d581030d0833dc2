"""Training of static models: recorded data through the product's own pipeline; a trainer for each kind of model is in `train.TRAINERS`."""
