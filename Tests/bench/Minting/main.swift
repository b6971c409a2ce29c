import Glibc

@testable import Rotation
@testable import jotd

// Mints as many tokens as its argument says, with jotd's own code, and prints the seconds that took
// and the last token's length. Each has another user_id, as those of a start.
let count = Int(CommandLine.arguments.dropFirst().first ?? "") ?? 100_000
let signer = try HMACSigner(try Secret.random(), .hs256, kid: nil)
let templates = (0..<1_000).map {
  TokenTemplate(.user(ByteString("user-\($0)"), .operator), claims: [])
}
var minter = Minter()
var random = SystemRandomNumberGenerator()
var bytes = 0
let began = ContinuousClock.now
for index in 0..<count {
  let token = try minter.mint(
    templates[index % templates.count], lifetime: .seconds(86_400), at: .now, signer: signer,
    random: &random)
  bytes = token.compact.count
}
let parts = (ContinuousClock.now - began).components
print(Double(parts.seconds) + Double(parts.attoseconds) / 1e18, bytes)
