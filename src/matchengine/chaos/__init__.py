"""Real processes under real faults, while clients trade and read; then the whole history is judged."""
