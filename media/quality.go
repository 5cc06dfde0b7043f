package media

import "time"

// receptionQuality is what became of the packets of a stream.
type receptionQuality struct {
	lost     float64 // share of the packets that was lost and guessed, 0 to 1
	repaired float64 // share that was lost and brought back by the next packet's copy
	burst    float64 // mean number of packets lost in a row; 0: none
	delay    time.Duration
}

// The E-model's impairments of the codecs (ITU-T G.113 appendix I). Those of
// Opus at 8 kHz and 20 kbit/s are fitted to measured quality, see
// testdata/mos.csv.
const (
	bestR         = 93.2 // of a call without impairment
	lawRobust     = 25.1 // Bpl of G.711 with concealment
	opusImpaired  = 12.5 // Ie
	opusRobust    = 18.0 // Bpl
	repairedShare = 0.16 // of a loss, what is heard of one that was repaired
)

// estimateMOS is the quality that the E-model (ITU-T G.107) expects of a
// received stream and our own buffering. It knows nothing of what happened
// before the far end sent it.
func estimateMOS(c Codec, q receptionQuality) float64 {
	ie, robust := 0.0, lawRobust
	if c == Opus {
		ie, robust = opusImpaired, opusRobust
	}
	if percent := 100 * (q.lost + repairedShare*q.repaired); percent > 0 {
		// G.107's BurstR: how much longer losses are than they would be at random.
		bursty := max(q.burst*(1-q.lost-q.repaired), 1)
		ie += (95 - ie) * percent / (percent/bursty + robust)
	}
	// Simplified Id of G.107: 0.024 per ms, more from 177 ms on; half the frame
	// and the far end's buffer are assumed.
	ms := float64((q.delay + 3*frameTime).Milliseconds())
	id := 0.024 * ms
	if ms > 177.3 {
		id += 0.11 * (ms - 177.3)
	}
	r := min(max(bestR-ie-id, 0), 100)
	return min(max(1+0.035*r+7e-6*r*(r-60)*(100-r), 1), 4.5)
}
