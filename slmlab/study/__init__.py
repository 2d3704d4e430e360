"""The course's science: phases, set-ups, diagnosis, experiments and what they say."""
