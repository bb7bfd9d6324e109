"""What runs on a training machine: inputs, the training, its log, its checkpoints, its outputs, and a clear end.

Everything goes through S3 (plantdoc.runs); nobody connects into the machine. Imports no TensorFlow.
"""
