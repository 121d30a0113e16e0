"""Compiled blocks: element-wise operations of a network as one pass over memory."""
