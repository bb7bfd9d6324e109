"""Worker on an instance that trains: inputs, the training, its log, its checkpoints, its outputs, and a clear end.

Everything goes through S3 (plantdoc.aws.run_store); nobody connects into the machine. Imports no TensorFlow.
"""
