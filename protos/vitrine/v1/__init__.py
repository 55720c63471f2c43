"""Generated from `classifier.proto` by `make protos`: messages, stubs and servicers of the wire contract."""
