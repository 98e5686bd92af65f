"""The platform on one machine: all servers in one folder, without root or Docker."""
