"""What the bridge costs, on this machine: ``python -m bench``.

Every case runs in a process of its own, several times over; the figures are medians, with the
lowest and the highest of the processes beside them. Other packages that do the same job are
measured on the same problems where they are installed (bench/peers.txt in the source tree pins
them), and said to be missing where they are not.
"""
