//! Command line and configuration file: from words to `Settings`. Pure: nothing here acts.
