"""cs3fuse: a CS3 gateway (Reva, OpenCloud, EOS behind them) as a local folder."""

__version__ = "0.1.0"
