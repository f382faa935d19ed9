"""A frozen encoder, and what is fitted on it."""
