"""The Open Inference Protocol's messages: generated stubs, for the server alone.

They claim the protobuf package `inference`, as every copy of the protocol does: a process holds one of them.
"""
