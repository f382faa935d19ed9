"""A finished run becomes a folder that stands alone, and the folder a repository of the Hub."""
