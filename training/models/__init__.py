"""Loading and saving models and image processors; images through a model to outputs; evaluating a classifier."""
