"""Process records: what batch records, cold chain and utilities ask for, as derived tags."""
