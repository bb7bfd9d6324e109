"""AWS: clients that say what went wrong, the bucket, the CloudFormation stack."""
