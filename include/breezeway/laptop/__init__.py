"""The embedded platform: every server in one folder, without root or Docker."""
