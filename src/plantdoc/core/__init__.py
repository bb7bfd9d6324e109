"""What every stage and script uses: params, errors, processes, hashes, and the frame around `main`."""
