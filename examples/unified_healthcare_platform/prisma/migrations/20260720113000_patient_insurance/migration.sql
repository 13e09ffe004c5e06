-- AlterTable
ALTER TABLE "Patient" ADD COLUMN     "insuranceNumber" TEXT,
ADD COLUMN     "insurerName" TEXT;
