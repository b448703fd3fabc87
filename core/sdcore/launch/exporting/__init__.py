"""Job files for engines that sdtui does not drive itself, and for Slurm without sdtui."""
