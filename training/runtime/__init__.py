"""What any run needs: arguments, errors, the run folder, checkpoints, processes, lineage."""
