"""The CS3 client: the only code that imports grpc, the cs3 protobufs and the HTTP library."""
