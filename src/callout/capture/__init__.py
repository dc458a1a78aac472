"""Sources of attempts: all yield the same batches, whether from this kernel or from a file."""
