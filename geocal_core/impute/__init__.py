"""What surveys do not tell, drawn from those that do; and samples that still add up."""
