"""Studies as projects of other systems. Pure: each exporter turns a study into the texts of files."""
