# mos.awk TABLE TRACE: the listening quality that a measured table gives for what
# was done to the packets of a stream. The table has rows of loss in per cent,
# mean burst, redundancy (0 or 1) and MOS; the trace begins with "redundancy 0"
# or "redundancy 1" and has a line "here" or "lost" for each packet.
BEGIN { FS = "," }

FNR == 1 { file++ }
file == 1 && /^#/ { next }
file == 1 && $2 == 1 { n[$3]++; loss[$3, n[$3]] = $1; mos[$3, n[$3]] = $4; next }
file == 1 { at[$3] = $1; length_[$3] = $2; worse[$3] = $4; next }

/^redundancy/ { split($0, word, " "); fec = word[2]; next }
/^lost/ { gone++; if (!row) runs++; row = 1; all++; next }
/^here/ { row = 0; all++; next }

# between is the table's MOS for random loss, on the straight line between two rows.
function between(percent,   i, part) {
	for (i = 2; i < n[fec] && loss[fec, i] < percent; i++) ;
	part = (percent - loss[fec, i-1]) / (loss[fec, i] - loss[fec, i-1])
	return mos[fec, i-1] + part * (mos[fec, i] - mos[fec, i-1])
}

END {
	percent = 100 * gone / all
	got = between(percent)
	if (runs > 0) {
		# Random loss has bursts too: of 1/(1-p) packets.
		long = gone / runs * (1 - percent / 100) - 1
		measured = length_[fec] * (1 - at[fec] / 100) - 1
		if (long > 0)
			got += (worse[fec] - between(at[fec])) * long / measured * percent / at[fec]
	}
	printf "%.3f\n", got
}
