"""The local server: SageMaker's container contract, the web page and the API's documentation, in one process."""
