/// One thing to do after a rotation, so that a client reads its new token.
package enum Hook: Hashable, Sendable {
  /// Reload a systemd unit.
  case reload(unit: String)
  /// Restart a systemd unit if it runs, unless it was handed the new token as it started.
  case restart(unit: String)
  /// Signal the process whose number is in a file; `name` is the signal's without SIG.
  case signal(pidFile: Path, number: Int32, name: String)
  /// Run a program, by its path and arguments: in bytes, so that two commands are one hook only
  /// if they are the same to the program, too.
  case run([[UInt8]])
}
