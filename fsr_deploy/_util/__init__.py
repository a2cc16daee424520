"""What every room needs: files, JSON records, the console, HTML pages, the machine's cores, the cache folder."""
