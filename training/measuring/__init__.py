"""Numbers about outputs, and the files that hold them; knows no data set and no training."""
