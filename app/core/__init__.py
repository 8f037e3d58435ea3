"""What every process of ado uses: settings, logs, reasons, git, private files. It imports only the wire."""
