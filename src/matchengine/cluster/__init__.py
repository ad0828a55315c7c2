"""Node processes on this machine, with throw-away data: for replays, demonstrations and measurements."""
