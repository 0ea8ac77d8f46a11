"""What is written about a batch: manifest, bill, report page, summaries."""
