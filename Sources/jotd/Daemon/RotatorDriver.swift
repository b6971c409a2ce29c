import Rotation

/// The rotator with the time and the randomness that it needs, whoever waits for what it answers,
/// and what it said last of all identities.
struct RotatorDriver {
  private var rotator: Rotator
  /// Who is to be called back once the tokens they asked for are delivered, or fail to be.
  private var callers: [RotationRequest.ID: @Sendable () -> Void] = [:]
  private var lastRequest: RotationRequest.ID = 0
  private(set) var totals = Totals()
  /// When the next step is to come at the latest; nil when there is nothing to wait for.
  private(set) var nextWake: Instant?

  /// Without identities, until the input `configured` brings them.
  init(keys: Keys) { rotator = Rotator(keys: keys) }

  /// What comes of `input` now.
  mutating func step(_ input: Input) -> Turn {
    var random = SystemRandomNumberGenerator()
    let turn = rotator.step(input, at: .now, random: &random)
    (totals, nextWake) = (turn.totals, turn.nextWake)
    return turn
  }

  /// The input of a request for new tokens; `done` is called by `answer` in its time.
  mutating func request(
    _ names: Set<String>, onlyToGain: Bool, _ done: @escaping @Sendable () -> Void
  ) -> Input {
    lastRequest += 1
    callers[lastRequest] = done
    return .requested(RotationRequest(id: lastRequest, names: names, onlyToGain: onlyToGain))
  }

  /// Calls those back whose requests the turn answers.
  mutating func answer(_ turn: Turn) {
    for request in turn.answered { callers.removeValue(forKey: request)?() }
  }
}
