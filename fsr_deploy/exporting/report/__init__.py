"""What is told about an export: bundle.json's content and report.html."""
