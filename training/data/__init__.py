"""From image files, tables and the Hub to images, views, labels and splits; one file per data set."""
