"""From what lies on disk or on the Hub to images, views, labels and splits; one file a data set."""
