"""What views and networks have in common, measured: mutual information, and the studies around it."""
