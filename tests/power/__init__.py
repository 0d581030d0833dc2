"""Power of monitors: what each finds of the fault it exists for, and what it says where there is none."""
