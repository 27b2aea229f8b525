"""Numbers from elsewhere: read, and lined up with the names that lme4 has."""
