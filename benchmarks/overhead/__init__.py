"""What a policy costs per call, as ratios measured in one run: see OVERHEAD.md."""
