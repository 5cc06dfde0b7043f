package fakemeta

import "math/rand/v2"

// Loss is what the customer's network loses: each RTP packet by itself, in both
// directions. The same seed loses the same packets.
type Loss struct {
	Share float64 // 0 to 1
	Seed  uint64
}

// losses decides packet by packet, for one direction.
type losses struct {
	share float64
	dice  *rand.Rand
}

func (l Loss) way(stream uint64) losses {
	return losses{share: l.Share, dice: rand.New(rand.NewPCG(l.Seed, stream))}
}

func (l *losses) lose() bool { return l.share > 0 && l.dice.Float64() < l.share }
