"""The ``matchengine`` command."""
