"""SimFLE's pretraining: batches, the loop, the monitor."""
