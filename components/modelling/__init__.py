"""What training, export and evaluation must agree on: the model's input, the hold-out rows, the metrics."""
