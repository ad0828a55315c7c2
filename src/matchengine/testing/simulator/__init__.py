"""A simulator of the whole system: nodes, disks, network, clocks, clients and operators out of one seed."""
