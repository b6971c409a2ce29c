import Glibc

@testable import Rotation
@testable import jotd

// Mints as many tokens as its argument says, with jotd's own code, by the algorithm that the next
// one names, and prints the seconds that took and the last token's length. Each has another
// user_id, as those of a start.
let arguments = CommandLine.arguments.dropFirst()
let count = Int(arguments.first ?? "") ?? 100_000
let algorithm = arguments.dropFirst().first.flatMap(Algorithm.init) ?? .hs256
let signer: any Signer =
  algorithm.takesSecret
  ? try HMACSigner(try Secret.random(), algorithm, kid: nil)
  : try PrivateKeySigner(try .generate(for: algorithm), algorithm, kid: nil)
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
