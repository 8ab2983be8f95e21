"""Memory for time: functions run again in the sweep back, so that what they recorded need not be kept."""
