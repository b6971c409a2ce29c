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

  /// The verb of systemctl(1) and of polkit(8) for a hook that manages a unit, and the unit; nil
  /// for others. A unit that does not run is not started: somebody has stopped it.
  package var order: (verb: String, unit: String)? {
    switch self {
    case .reload(let unit): ("reload", unit)
    case .restart(let unit): ("try-restart", unit)
    case .signal, .run: nil
    }
  }

  package var isRestart: Bool { if case .restart = self { true } else { false } }
}
