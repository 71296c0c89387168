"""The worker's protocol over a socket: a computer with a fast device computes for applications on others.

``server`` accepts connections, ``relay`` and ``remote_run`` are the other end. A server takes names of models and
voxels, and gives labels; it reads and writes no file by a client's wish, and keeps nothing of what came.
"""
