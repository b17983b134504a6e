"""The weekly job: a window of the log → a challenger, judged against the champion → promoted, kept or refused."""
