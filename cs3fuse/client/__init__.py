"""The CS3 client: the only code that imports grpc, the cs3 protobufs and the HTTP library."""

import os

# gRPC writes to stderr what its calls raise as well, past every logging configuration. It reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
